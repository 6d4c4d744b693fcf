{{ duplicate_keys(ref('indicators'), ['figure_id', 'service', 'report_year', 'basis']) }}

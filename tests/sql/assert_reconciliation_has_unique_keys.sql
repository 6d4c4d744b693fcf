{{ duplicate_keys(ref('reconciliation'), ['report_year', 'figure_id', 'service', 'basis']) }}

{{ duplicate_keys(ref('coverage'), ['feed', 'report_year', 'month']) }}

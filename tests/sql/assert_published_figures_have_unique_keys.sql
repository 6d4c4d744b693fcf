{{ duplicate_keys(ref('published_figures'), ['report_year', 'figure_id', 'service', 'basis']) }}

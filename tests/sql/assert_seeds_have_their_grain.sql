-- Seeds whose key is more than one column; the others have a test of one column.
{{ relations_with_duplicate_keys([
    ('answer_time_limits', ['service_line', 'valid_from']),
    ('comparability_events', ['family', 'service', 'starts_on']),
    ('documented_inconsistencies', ['report_year', 'figure_id', 'service', 'basis']),
    ('figure_dependencies', ['figure_id', 'depends_on', 'depends_on_service']),
    ('figure_limits', ['figure_id', 'service', 'subject']),
    ('figure_services', ['figure_id', 'service']),
    ('figure_sums', ['relation', 'part_figure_id', 'part_service']),
    ('manual_figure_owners', ['figure_id', 'service']),
    ('national_comparisons', ['report_year', 'figure_id', 'service']),
    ('published_figures', ['report_year', 'figure_id', 'service', 'basis']),
    ('service_starts', ['figure_id_prefix', 'service']),
    ('statutory_limits', ['subject', 'age_from', 'valid_from']),
    ('targets', ['report_year', 'figure_id', 'service']),
]) }}

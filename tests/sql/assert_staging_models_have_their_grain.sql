-- Staging models whose key is more than one column; the others have a test of one column.
{{ relations_with_duplicate_keys([
    ('stg_care_contacts', ['month_starts_on', 'sector', 'mode', 'is_visit_replacing']),
    ('stg_care_queue', ['census_date', 'patient_key', 'specialty']),
    ('stg_digital_users', ['census_date', 'age_from']),
    ('stg_feedback_labels', ['feedback_id', 'content']),
    ('stg_manual_figures', ['report_year', 'figure_id', 'service']),
    ('stg_nps_invitations', ['survey', 'channel', 'month_starts_on']),
]) }}

{{ duplicate_keys(ref('stg_care_queue'), ['census_date', 'patient_key', 'specialty']) }}

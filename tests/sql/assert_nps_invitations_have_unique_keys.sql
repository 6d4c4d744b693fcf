{{ duplicate_keys(ref('stg_nps_invitations'), ['survey', 'channel', 'month_starts_on']) }}

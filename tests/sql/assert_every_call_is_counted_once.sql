-- Calls in force, calls by month and calls by line are the same calls: no join may lose or double one.
with calls as (

    select count(*) as call_count from {{ ref('stg_calls') }}

),

covered as (

    select coalesce(sum(row_count), 0) as call_count
    from {{ ref('coverage') }}
    where feed = 'calls'

),

received as (

    select coalesce(sum(ind_calls.numerator), 0) as call_count
    from {{ ref('ind_calls') }} as ind_calls
    inner join {{ ref('service_lines') }} as service_lines on ind_calls.service = service_lines.service_line
    where ind_calls.figure_id = 'calls_received'

)

select
    calls.call_count,
    covered.call_count as covered_count,
    received.call_count as received_count
from calls
cross join covered
cross join received
where calls.call_count <> covered.call_count or calls.call_count <> received.call_count

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

    select coalesce(sum(figures.numerator), 0) as call_count
    from {{ ref('int_calls_figures') }} as figures
    inner join {{ ref('service_lines') }} as service_lines on figures.service = service_lines.service_line
    where figures.figure_id = 'calls_received' and figures.report_month is not null

)

select
    calls.call_count,
    covered.call_count as covered_count,
    received.call_count as received_count
from calls
cross join covered
cross join received
where calls.call_count <> covered.call_count or calls.call_count <> received.call_count

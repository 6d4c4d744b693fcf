with count_sums as (

    select * from {{ ref('count_sums') }}

),

service_lines as (

    select * from {{ ref('service_lines') }}

),

count_units as (

    select * from {{ ref('int_count_units') }}

),

sums as (

    select
        count_id,
        whole_service,
        part_service
    from count_sums
    where whole_service is not null

    union all

    select
        count_sums.count_id,
        service_lines.service_group as whole_service,
        service_lines.service_line as part_service
    from count_sums
    inner join service_lines on service_lines.service_group is not null
    where count_sums.whole_service is null

)

select
    sums.count_id,
    count_units.unit_id,
    count_units.whole_count_id,
    sums.whole_service,
    sums.part_service
from sums
inner join count_units on sums.count_id = count_units.count_id

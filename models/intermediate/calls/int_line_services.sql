with service_lines as (

    select * from {{ ref('service_lines') }}

),

line_services as (

    select
        service_line,
        service_line as service
    from service_lines

    union all

    select
        service_line,
        service_group as service
    from service_lines
    where service_group is not null

)

select
    service_line,
    service
from line_services

with figure_limits as (

    select * from {{ ref('figure_limits') }}

),

statutory_limits as (

    select * from {{ ref('statutory_limits') }}

),

answer_time_limits as (

    select * from {{ ref('answer_time_limits') }}

),

line_services as (

    select * from {{ ref('int_line_services') }}

),

-- A figure may be measured by the limits of several processes or lines, which may change on one day.
limits as (

    select
        figure_limits.figure_id,
        figure_limits.service,
        figure_limits.subject,
        statutory_limits.valid_from,
        statutory_limits.limit_fi,
        statutory_limits.limit_sv,
        statutory_limits.limit_en,
        statutory_limits.source
    from figure_limits
    inner join statutory_limits
        on figure_limits.subject = statutory_limits.subject
        and figure_limits.age >= statutory_limits.age_from
        and (statutory_limits.age_to is null or figure_limits.age <= statutory_limits.age_to)

    union all

    select
        'calls_answered_within_5_minutes_share' as figure_id,
        line_services.service,
        answer_time_limits.service_line as subject,
        answer_time_limits.valid_from,
        answer_time_limits.limit_fi,
        answer_time_limits.limit_sv,
        answer_time_limits.limit_en,
        answer_time_limits.source
    from answer_time_limits
    inner join line_services on answer_time_limits.service_line = line_services.service_line

),

periods as (

    select
        figure_id,
        service,
        subject,
        valid_from,
        limit_fi,
        limit_sv,
        limit_en,
        source,
        lag(limit_en) over (partition by figure_id, service, subject order by valid_from) as previous_limit
    from limits

)

select distinct
    figure_id,
    service,
    valid_from as starts_on,
    'Enimmäisajaksi tuli ' || limit_fi || '.' as reason_fi,
    'Maximitiden blev ' || limit_sv || '.' as reason_sv,
    'The limit became ' || limit_en || '.' as reason_en,
    source
from periods
where previous_limit <> limit_en

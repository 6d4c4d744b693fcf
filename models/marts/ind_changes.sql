with nps as (

    select * from {{ ref('ind_nps') }}

),

rescue as (

    select * from {{ ref('ind_rescue') }}

),

service_starts as (

    select * from {{ ref('service_starts') }}

),

bases as (

    select
        'nps_change' as figure_id,
        service,
        report_year,
        cast({{ round_half_away('value', 0) }} as double) as value,
        false as is_percent,
        event_count
    from nps
    where figure_id = 'nps'

    union all

    select
        'nps_responses_change' as figure_id,
        service,
        report_year,
        value,
        false as is_percent,
        event_count
    from nps
    where figure_id = 'nps_responses'

    union all

    select
        'rescue_missions_change_pct' as figure_id,
        service,
        report_year,
        value,
        true as is_percent,
        event_count
    from rescue
    where figure_id = 'rescue_missions'

),

changes as (

    select
        this_year.figure_id,
        this_year.service,
        this_year.report_year,
        this_year.value - year_before.value as difference,
        year_before.value as value_before,
        this_year.is_percent,
        this_year.event_count
    from bases as this_year
    inner join bases as year_before
        on this_year.figure_id = year_before.figure_id
        and this_year.service = year_before.service
        and this_year.report_year = year_before.report_year + 1
    where this_year.value is not null and year_before.value is not null

),

figures as (

    select
        figure_id,
        service,
        report_year,
        'change_from_previous_year' as basis,
        difference as numerator,
        case when is_percent then value_before end as denominator,
        case when is_percent then 100 * difference / nullif(value_before, 0) else difference end as value,
        event_count
    from changes

)

{{ figures_with_basis() }}

{{ config(materialized='table') }}

{#- Church holidays by the Church Act (1054/1993, since 2023 652/2023), May Day by 272/1944, Independence Day by
    388/1937. That Saturdays, Midsummer Eve and Christmas Eve end no time limit is in section 5 of the Act on the
    calculation of statutory time limits (150/1930). -#}
with years as (

    select {{ whole_numbers(1990, 2099) }} as report_year

),

day_numbers as (

    select {{ whole_numbers(0, 365) }} as day_number

),

full_moons as (

    select
        report_year,
        {{ paschal_full_moon('report_year') }} as full_moon_on
    from years

),

-- Easter is the Sunday after it. Until 1990 Ascension Day was kept on the Saturday before its Thursday.
easters as (

    select
        report_year,
        {{ days_after('full_moon_on', '(7 - ' ~ iso_weekday('full_moon_on') ~ ' % 7)') }} as easter_on,
        case when report_year <= 1990 then 34 else 39 end as ascension_days
    from full_moons

),

dates as (

    select
        easters.report_year,
        {{ days_after('make_date(easters.report_year, 1, 1)', 'day_numbers.day_number') }} as calendar_date,
        easters.easter_on,
        easters.ascension_days
    from easters
    inner join day_numbers on day_numbers.day_number < {{ days_in_year('easters.report_year') }}

),

holidays as (

    select
        report_year,
        calendar_date,
        coalesce(
            {{ fixed_holiday('calendar_date') }},
            case {{ days_between('easter_on', 'calendar_date') }}
                when -2 then 'good_friday'
                when 0 then 'easter_sunday'
                when 1 then 'easter_monday'
                when ascension_days then 'ascension_day'
                when 49 then 'pentecost'
            end
        ) as holiday
    from dates

),

working_days as (

    select
        report_year,
        calendar_date,
        holiday,
        {{ iso_weekday('calendar_date') }} <= 5 and holiday is null as is_working_day
    from holidays

)

select
    calendar_date,
    report_year,
    calendar_date = make_date(report_year, 12, 31) as is_year_end,
    holiday,
    is_working_day,
    count(case when is_working_day then 1 end) over before_it as working_days_before,
    count(case when is_working_day then 1 end) over through_it as working_days_through
from working_days
window
    before_it as (order by calendar_date rows between unbounded preceding and 1 preceding),
    through_it as (order by calendar_date rows between unbounded preceding and current row)

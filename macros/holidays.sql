{#- The first full moon of spring as the Gregorian calendar reckons it, which holds for the years 1900 to 2199: Easter
    is the Sunday after it. -#}
{% macro paschal_full_moon(year) -%}
{%- set moon_days = '(19 * (' ~ year ~ ' % 19) + 24) % 30' -%}
{{ days_after('make_date(' ~ year ~ ', 3, 21)', '(' ~ moon_days ~ ' - case when ' ~ moon_days ~ ' = 29 or ('
    ~ moon_days ~ ' = 28 and ' ~ year ~ ' % 19 > 10) then 1 else 0 end)') }}
{%- endmacro %}

{#- The holiday that a date always or by its weekday is, apart from those that move with Easter; null for others. -#}
{% macro fixed_holiday(date_on) -%}
case
            when month({{ date_on }}) = 1 and day({{ date_on }}) = 1 then 'new_years_day'
            when month({{ date_on }}) = 1 and day({{ date_on }}) = 6 then 'epiphany'
            when month({{ date_on }}) = 5 and day({{ date_on }}) = 1 then 'may_day'
            when month({{ date_on }}) = 6 and day({{ date_on }}) between 19 and 25
                and {{ iso_weekday(date_on) }} = 5 then 'midsummer_eve'
            when month({{ date_on }}) = 6 and day({{ date_on }}) between 20 and 26
                and {{ iso_weekday(date_on) }} = 6 then 'midsummer_day'
            when (month({{ date_on }}) = 11 and day({{ date_on }}) <= 6
                or month({{ date_on }}) = 10 and day({{ date_on }}) = 31)
                and {{ iso_weekday(date_on) }} = 6 then 'all_saints_day'
            when month({{ date_on }}) = 12 and day({{ date_on }}) = 6 then 'independence_day'
            when month({{ date_on }}) = 12 and day({{ date_on }}) = 24 then 'christmas_eve'
            when month({{ date_on }}) = 12 and day({{ date_on }}) in (25, 26) then 'christmas'
        end
{%- endmacro %}

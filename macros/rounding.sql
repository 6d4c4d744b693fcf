{#- Rounding as published: half away from zero, in one place. The value is a DOUBLE, so 80.95 may be stored a
    hair below or above: it becomes a DECIMAL first, which restores the tie. A quotient of counts under a
    hundred million is never so near a tie that nine decimals could make one. -#}

{#- The value rounded to a fixed number of decimals. -#}
{% macro round_half_away(value, decimals) -%}
round(cast({{ value }} as decimal(38, 9)), {{ decimals }})
{%- endmacro %}

{#- The value rounded to the precision a column names: '0', '1', '2' decimals, or 'minute' for seconds to the
    nearest 60. -#}
{% macro rounded_as_published(value, precision) -%}
case {{ precision }}
            when '0' then cast({{ round_half_away(value, 0) }} as decimal(38, 2))
            when '1' then cast({{ round_half_away(value, 1) }} as decimal(38, 2))
            when '2' then cast({{ round_half_away(value, 2) }} as decimal(38, 2))
            when 'minute' then cast(60 * {{ round_half_away(value ~ ' / 60', 0) }} as decimal(38, 2))
        end
{%- endmacro %}

{#- Whether a value lies within the project's tolerance, in percent of the published value, of a figure
    printed as "about". -#}
{% macro is_about(value, published_value) -%}
100 * abs(cast({{ value }} as decimal(38, 9)) - {{ published_value }})
            <= {{ var('about_tolerance_percent') }} * abs({{ published_value }})
{%- endmacro %}

{#- The value as it is shown to people: at its figure's precision, but 0 and, of percent and points, 100 only when it is
    exactly that. 99.793 at no decimals is 99.8: one or two decimals more are told, and at most 99.99 or at least 0.01.
    What is compared with a printed figure is rounded_as_published. -#}
{% macro presented(value, precision, unit) -%}
{%- set two = "cast(" ~ round_half_away(value, 2) ~ " as decimal(38, 2))" -%}
{%- set one = "cast(" ~ round_half_away(value, 1) ~ " as decimal(38, 2))" -%}
{%- set rounded = rounded_as_published(value, precision) -%}
case
            when {{ is_exactly_shown(value, rounded, unit) }} then {{ rounded }}
            when {{ is_exactly_shown(value, one, unit) }} then {{ one }}
            when {{ is_exactly_shown(value, two, unit) }} then {{ two }}
            else cast(
                case when {{ value }} < 0 then -1 else 1 end
                * case when abs({{ value }}) < 1 then 0.01 when abs({{ value }}) < 100 then 99.99 else 100.01 end
                as decimal(38, 2)
            )
        end
{%- endmacro %}

{#- Whether a value may be shown as what it was rounded to: not as 0, or as 100 percent or points, when it is something
    else. -#}
{% macro is_exactly_shown(value, rounded, unit) -%}
coalesce(
                not (
                    {{ rounded }} = 0 and {{ value }} <> 0
                    or {{ unit }} in ('percent', 'points') and abs({{ rounded }}) = 100 and abs({{ value }}) <> 100
                ),
                true
            )
{%- endmacro %}

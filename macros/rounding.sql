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

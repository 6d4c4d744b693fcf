{#- Sums of DOUBLEs that hold whole numbers, as numerators and denominators do. Added as DOUBLEs they depend on the
    order of the rows, and beyond 2^53 a DOUBLE holds only some of the whole numbers. -#}

{#- A DOUBLE as a DECIMAL with the same whole part to the last digit, for adding; nine decimals of the rest. -#}
{% macro exact(value) -%}
cast(trunc({{ value }}) as decimal(38, 0)) + cast({{ value }} - trunc({{ value }}) as decimal(18, 9))
{%- endmacro %}

{#- Whether a sum of exact() parts and a whole, one of which may be missing, are not the same count. Up to 2^53 they
    must agree to the last one. Beyond, every part and the whole were rounded to the nearest DOUBLE, by 1 in 2^53
    each. -#}
{% macro sums_differ(sum_of_parts, whole) -%}
coalesce(
            abs({{ sum_of_parts }} - ({{ exact(whole) }})) > case
                when abs({{ whole }}) <= 9007199254740992 then cast(0.000001 as decimal(38, 9))
                else cast(abs({{ whole }}) / 4503599627370496 as decimal(38, 9))
            end,
            ({{ sum_of_parts }}) is distinct from ({{ exact(whole) }})
        )
{%- endmacro %}

"""A generated project of many models of about 50 lines each, the same every time."""

from __future__ import annotations

from pathlib import Path

WIDTH = 50

_MODEL = """\
{{{{ config(materialized='{materialized}') }}}}

-- Model {number} of layer {layer}.
with first_input as (

    select * from {{{{ ref('{first}') }}}}

),

second_input as (

    select * from {{{{ ref('{second}') }}}}

),

joined as (

    select
        first_input.unit_id,
        first_input.observed_on,
        first_input.report_year,
        first_input.case_count + {number} as case_count,
        first_input.total_seconds,
        coalesce(second_input.case_count, 0) as other_count,
        case when first_input.service = 'service_{digit}' then 1 else 0 end as is_chosen,
        first_input.service
    from first_input
    left join second_input
        on first_input.unit_id = second_input.unit_id
        and first_input.observed_on = second_input.observed_on

),

numbered as (

    select
        *,
        row_number() over (partition by unit_id, report_year order by observed_on, service) as place
    from joined

)

select
    unit_id,
    observed_on,
    report_year,
    service,
    max(place) as place,
    sum(case_count) as case_count,
    sum(total_seconds) as total_seconds,
    cast(sum(other_count) as double) / nullif(sum(case_count), 0) as other_share,
    {{{{ mean_of('sum(total_seconds)', 'sum(case_count)') }}}} as mean_seconds,
    max(is_chosen) as is_chosen
from numbered
where case_count > {digit}
group by unit_id, observed_on, report_year, service
"""

_PROPERTIES = """\
  - name: {name}
    description: Generated, one row per unit, day and service.
    columns:
      - name: unit_id
        data_tests: [not_null]
      - name: place
        data_tests: [not_null]
"""


def write_project(root: Path, models: int) -> Path:
    """Write a project of `models` models in layers of 50 and one seed into `root`; returns it.

    Every model reads two of the layer above it.
    """
    for folder in ("models", "seeds", "macros"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "dbt_project.yml").write_text("name: generated\nmodels:\n  generated:\n    +schema: marts\n")
    (root / "macros/mean.sql").write_text(
        "{% macro mean_of(total, cases) -%}\ncast({{ total }} as double) / nullif({{ cases }}, 0)\n{%- endmacro %}\n"
    )
    rows = [f"{unit},2025-01-{unit % 28 + 1:02},2025,service_{unit % 5},{unit},{unit * 60}" for unit in range(100)]
    header = "unit_id,observed_on,report_year,service,case_count,total_seconds"
    (root / "seeds/units.csv").write_text("\n".join([header, *rows]) + "\n")
    for number in range(models):
        layer, place = divmod(number, WIDTH)
        above = [f"m_{(layer - 1) * WIDTH + (place + step) % WIDTH:05}" if layer else "units" for step in (0, 7)]
        (root / f"models/m_{number:05}.sql").write_text(
            _MODEL.format(
                number=number,
                layer=layer,
                digit=number % 5,
                first=above[0],
                second=above[1],
                materialized=("view", "table")[number % 2],
            )
        )
    for start in range(0, models, WIDTH):
        names = [f"m_{number:05}" for number in range(start, min(start + WIDTH, models))]
        listed = "".join(_PROPERTIES.format(name=name) for name in names)
        (root / f"models/layer_{start // WIDTH:03}.yml").write_text(f"models:\n{listed}")
    return root

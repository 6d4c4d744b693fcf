with manual_figures as (

    select * from {{ ref('stg_manual_figures') }}

),

described_figures as (

    select * from {{ ref('figures') }}

),

service_starts as (

    select * from {{ ref('service_starts') }}

),

-- A derived figure is never overridden: a row with its id is left out here, and a test warns of it.
figures as (

    select
        manual_figures.figure_id,
        manual_figures.service,
        manual_figures.report_year,
        coalesce(described_figures.basis, 'calendar_year') as basis,
        cast(manual_figures.value as double) as numerator,
        cast(null as double) as denominator,
        cast(manual_figures.value as double) as value,
        cast(1 as bigint) as event_count
    from manual_figures
    left join described_figures on manual_figures.figure_id = described_figures.figure_id
    where coalesce(described_figures.family, 'manual') = 'manual'

)

{{ figures_with_basis(has_months=false) }}

{{ config(materialized='table') }}

with cells as (

    select * from {{ ref('int_small_counts') }}

),

sums as (

    select * from {{ ref('int_figure_sums') }}

),

{{ protect_sums(level=1) }}

select
    figure_id,
    service,
    report_year,
    basis,
    counted,
    whole_counted,
    is_hidden
from protected

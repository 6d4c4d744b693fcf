{{ config(materialized='table') }}

with small_counts as (

    select * from {{ ref('int_small_counts') }}

),

hidden_years as (

    select * from {{ ref('int_hidden_years') }}

),

counts as (

    select * from {{ ref('int_counts') }}

),

units as (

    select * from {{ ref('int_count_units') }}

),

cover_pairs as (

    select * from {{ ref('int_cover_pairs') }}

),

count_sums as (

    select * from {{ ref('int_count_sums') }}

),

sums as (

    select distinct unit_id, whole_service, part_service from count_sums

),

start as (

    select unit_id, level, service, report_year from small_counts where is_of_months

    union

    select unit_id, level, service, report_year from hidden_years

),

services as (

    select distinct unit_id, service, report_year from counts where report_month > 0

),

pairs as (

    select unit_id, whole_service, service, cover_service, report_year, cover_counted
    from cover_pairs
    where is_of_months and is_cover

),

{{ protect_units(is_of_months=true) }}

select
    unit_id,
    level,
    service,
    report_year
from protected

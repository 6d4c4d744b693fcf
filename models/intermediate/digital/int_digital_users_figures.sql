{{ config(materialized='table') }}

with users as (

    select * from {{ ref('stg_digital_users') }}

),

unfinished_months as (

    select * from {{ ref('int_unfinished_months') }}

),

service_starts as (

    select * from {{ ref('service_starts') }}

),

-- A month is told by its last census, and so is a year.
last_censuses as (

    select max(census_date) as census_date
    from users
    group by report_year, report_month

),

censuses as (

    select
        'oma_kymenlaakso' as service,
        year(users.census_date) as report_year,
        month(users.census_date) as report_month,
        users.census_date,
        count(*) as row_count,
        sum(users.registered_users) as registered_count,
        sum(users.active_users) as active_count,
        sum(case when users.age_from >= 70 then users.registered_users else 0 end) as registered_over_70_count
    from users
    inner join last_censuses on users.census_date = last_censuses.census_date
    group by users.census_date

),

{{ census_periods(['service', 'row_count', 'registered_count', 'active_count', 'registered_over_70_count'],
    'digital_users') }},

figures as (

    {{ count_figure('digital_registered_users',
        counted='registered_count', event_count='row_count', basis="'census_december'") }}

    union all

    {{ count_figure('digital_active_users',
        counted='active_count', event_count='row_count', basis="'census_december'") }}

    union all

    {{ share_figure('digital_users_over_70_share',
        part='registered_over_70_count', whole='registered_count', event_count='row_count',
        basis="'census_december'") }}

)

{{ figures_with_basis() }}

{{ config(materialized='table') }}

with answers as (

    select * from {{ ref('stg_experience_answers') }}

),

unfinished_months as (

    select * from {{ ref('int_unfinished_months') }}

),

service_starts as (

    select * from {{ ref('service_starts') }}

),

periods as (

    select
        answers.statement,
        {{ period_columns('answers') }},
        count(*) as answer_count,
        sum(answers.score) as total_score
    from answers
    {{ join_unfinished_months('answers', 'experience_answers') }}
    {{ by_year_and_month('answers', 'answers.statement') }}

),

all_statements as (

    select
        report_year,
        report_month,
        is_comparison,
        last_full_month,
        sum(answer_count) as answer_count,
        sum(total_score) as total_score
    from periods
    group by report_year, report_month, is_comparison, last_full_month

),

figures as (

    {{ mean_figure('experience_statement_mean',
        total='total_score', cases='answer_count', event_count='answer_count', service='statement') }}

    union all

    {{ mean_figure('experience_mean',
        total='total_score', cases='answer_count', event_count='answer_count',
        service="'all_services'", rows='all_statements') }}

    union all

    {{ count_figure('experience_answers',
        counted='answer_count', event_count='answer_count', service="'all_services'", rows='all_statements') }}

)

{{ figures_with_basis() }}

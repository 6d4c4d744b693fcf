{{ config(severity='warn') }}

-- A band that ends before it begins, or that has ages of another band of the same census: a line of totals (from 0, no
-- end) is one of these. Users of such ages are in the sums twice.
with users as (

    select * from {{ ref('stg_digital_users') }}

)

select
    users.census_date,
    users.age_from,
    users.age_to
from users
left join users as others
    on users.census_date = others.census_date
    and users.age_from < others.age_from
    and (users.age_to is null or users.age_to >= others.age_from)
where others.census_date is not null or users.age_to < users.age_from

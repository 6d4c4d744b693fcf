-- The formulas of sums.yml, computed. Grain, one row per formula, year and, when it holds by service, service.
-- `gap` is 0 where the formula holds.
with formulas as (
    select unnest($formulas, recursive := true)
),

terms as (
    select unnest($terms, recursive := true)
),

matched as (
    select
        t.formula,
        t.place,
        t.side,
        t.is_needed,
        a.report_year + t.years_back as report_year,
        case when f.is_by_service then a.service end as service,
        t.sign * a.number as number
    from terms as t
    inner join formulas as f on t.formula = f.formula
    inner join amounts as a
        on t.name = a.name
        and t.amount = a.amount
        and (len(t.services) = 0 or list_contains(t.services, a.service))
        and t.basis in ('', a.basis)
),

sums as (
    select
        formula,
        report_year,
        service,
        -- Quotients do not add up alike in every order, and rows come in any: what is left of that is rounded away.
        round(coalesce(sum(case when side = 'left' then number end), 0), 9) as left_sum,
        round(coalesce(sum(case when side = 'right' then number end), 0), 9) as right_sum,
        count(distinct case when is_needed then place end) as needed_count,
        count(distinct side) as side_count
    from matched
    group by formula, report_year, service
    having count(*) = count(number)
),

-- Only where every term that is needed was found, on both sides.
judged as (
    select
        s.report_year,
        s.service,
        f.formula,
        f.rule,
        f.text,
        f.figure_id,
        f.is_equal,
        s.left_sum + f.left_number as value,
        s.right_sum + f.right_number as compared
    from sums as s
    inner join formulas as f
        on s.formula = f.formula
        and s.needed_count = f.needed_count
        and s.side_count = f.side_count
    where s.report_year <= $last_year
)

select
    report_year,
    text || ', ' || concat_ws(' ', service, report_year) || ': ' || printf('%.10g', value) || ' and '
        || printf('%.10g', compared) as label,
    figure_id,
    service,
    value,
    compared,
    text as note_fi,
    rule,
    case
        -- Beyond 2^53 a number was rounded to the nearest DOUBLE, and so were its parts.
        when abs(compared) > 9007199254740992 and abs(value - compared) <= abs(compared) / 1125899906842624 then 0
        when is_equal then value - compared
        else greatest(value - compared, 0)
    end as gap
from judged
order by report_year, formula, service

-- Every figure beside the same figure of the year before, both of a whole year; but a year that is not finished has only
-- what does not grow with its months compared. Grain, one row per figure, service,
-- year and basis. `note` says what is known to break the series between the two.
with pairs as (
    select
        this.report_year,
        this.figure_id,
        this.service,
        this.basis,
        this.kind,
        this.name,
        before.value as previous,
        this.value,
        this.value / greatest(before.value, 1) as ratio,
        this.value - before.value as difference,
        list_contains($main_volumes, this.figure_id) and before.value >= 1000 as is_main,
        this.denominator >= 100 and before.denominator >= 100 as is_many
    from figures as before
    inner join figures as this
        on before.figure_id = this.figure_id
        and before.service = this.service
        and before.basis = case this.basis when 'year_to_date' then this.described_basis else this.basis end
        and before.report_year + 1 = this.report_year
    where before.basis <> 'partial_year' and before.value is not null and this.value is not null
),

-- A break in the year before makes that year a mixture, unless it began the year or the figure tells of its end.
reasons as (
    select
        p.name,
        p.basis,
        b.starts_on || ': ' || b.reason_en as reason,
        strftime(b.starts_on, '%-d.%-m.%Y') || ': ' || b.reason_fi as reason_fi
    from pairs as p
    inner join marts_comparability_breaks as b
        on p.figure_id = b.figure_id
        and p.service = b.service
        and b.starts_on > make_date(p.report_year - 1, 1, 1)
        and b.starts_on <= make_date(p.report_year, 12, 31)
        and (year(b.starts_on) = p.report_year or p.basis not in ('census_december', 'end_of_year', 'december'))

    union all

    select p.name, p.basis, a.reason, a.reason as reason_fi
    from pairs as p
    inner join accepted as a on p.name = a.name
),

breaks as (
    select
        name,
        basis,
        string_agg(distinct reason, ' ' order by reason) as note,
        string_agg(distinct reason_fi, ' ' order by reason_fi) as note_fi
    from reasons
    group by name, basis
)

select
    p.report_year,
    p.name || ' = ' || printf('%.10g', p.value) || ' (the year before ' || printf('%.10g', p.previous) || ')'
        || coalesce(' [' || b.note || ']', '') as label,
    p.figure_id,
    p.service,
    p.basis,
    p.value,
    p.previous as compared,
    b.note_fi,
    case when p.kind = 'count' and p.basis <> 'year_to_date' and p.is_main and b.note is null then p.ratio end as main_volume_ratio,
    case when p.kind = 'count' and p.basis <> 'year_to_date' and p.is_main and b.note is not null then p.ratio end as broken_volume_ratio,
    case
        when p.kind = 'count' and p.basis <> 'year_to_date' and not p.is_main and greatest(p.value, p.previous) >= 100
            then p.ratio
    end as count_ratio,
    case when p.figure_id = 'digital_registered_users' and p.basis <> 'year_to_date' then p.ratio end as registered_ratio,
    case when p.kind = 'duration' and p.is_many then p.ratio end as duration_ratio,
    case when p.kind in ('share', 'response_rate') and p.is_many then p.difference end as share_difference,
    case when p.kind = 'nps' and p.is_many then p.difference end as nps_difference,
    case when p.kind = 'score' and p.is_many then p.difference end as score_difference
from pairs as p
left join breaks as b on p.name = b.name and p.basis = b.basis
order by p.report_year, p.name, p.basis

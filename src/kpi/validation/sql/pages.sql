-- What the pages of the report years tell of each figure. Grain, one row per figure, service, year and basis that is
-- told or printed. Columns that end in _shown are rounded, half away from zero, to the decimals beside them,
-- and 0 and 100 only when exact: {value_shown} and {previous_shown} stand for SQL of `presentation.presented`.
with keys as (
    select figure_id, service, report_year, basis from indicators

    union

    select figure_id, service, report_year, basis from reconciliation
),

joined as (
    select
        keys.figure_id,
        keys.service,
        keys.report_year,
        keys.basis,
        described.family,
        described.name_fi,
        described.definition_fi,
        described.unit,
        coalesce(described.decimals, '2') as decimals,
        listed.service_name_fi,
        indicators.figure_id is not null as is_told,
        indicators.value,
        indicators.last_full_month,
        changes.previous_value,
        changes.has_break,
        origins.kept_from,
        printed.published_value,
        printed.qualifier,
        printed.decimals as printed_decimals,
        printed.status,
        coalesce(printed.reason_fi, printed.reason) as reason,
        printed.source_report,
        targets.target,
        targets.comparison,
        nation.national_value
    from keys
    left join figures as described on keys.figure_id = described.figure_id
    left join figure_services as listed
        on keys.figure_id = listed.figure_id and keys.service = listed.service
    left join indicators
        on keys.figure_id = indicators.figure_id
        and keys.service = indicators.service
        and keys.report_year = indicators.report_year
        and keys.basis = indicators.basis
    left join indicator_changes as changes
        on keys.figure_id = changes.figure_id
        and keys.service = changes.service
        and keys.report_year = changes.report_year
        and keys.basis = changes.basis
    left join indicator_origins as origins
        on keys.figure_id = origins.figure_id
        and keys.service = origins.service
        and keys.report_year = origins.report_year
        and keys.basis = origins.basis
    left join reconciliation as printed
        on keys.figure_id = printed.figure_id
        and keys.service = printed.service
        and keys.report_year = printed.report_year
        and keys.basis = printed.basis
    left join targets
        on keys.figure_id = targets.figure_id
        and keys.service = targets.service
        and keys.report_year = targets.report_year
    left join national_comparisons as nation
        on keys.figure_id = nation.figure_id
        and keys.service = nation.service
        and keys.report_year = nation.report_year
)

select
    figure_id,
    service,
    report_year,
    basis,
    family,
    name_fi,
    definition_fi,
    unit,
    service_name_fi,
    is_told,
    last_full_month,
    decimals,
    {value_shown} as value_shown,
    {previous_shown} as previous_shown,
    has_break,
    kept_from,
    printed_decimals,
    cast(published_value as decimal(38, 2)) as printed_shown,
    qualifier,
    status,
    reason,
    source_report,
    target,
    comparison,
    national_value
from joined
order by report_year, family, figure_id, service, basis

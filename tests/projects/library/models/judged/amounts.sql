select report_year, figure_id as name, service, basis, 'value' as amount, value as number
from {{ ref('yearly_figures') }}

union all

select report_year, figure_id as name, service, basis, 'denominator' as amount, denominator as number
from {{ ref('yearly_figures') }}

union all

select report_year, feed as name, '' as service, '' as basis, 'rows' as amount, cast(sum(row_count) as double) as number
from {{ ref('feed_coverage') }}
group by report_year, feed

select
    figures.*,
    releases.number as release_number,
    releases.number = max(releases.number) over (partition by releases.report_year) as is_latest,
    releases.build,
    releases.released_at,
    releases.released_by,
    releases.note
from {{ source('raw', 'released_indicators') }} as figures
inner join {{ source('raw', 'releases') }} as releases on figures.release = releases.release

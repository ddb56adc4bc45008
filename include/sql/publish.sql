{#- PostgreSQL, one transaction: the gold tables, what they were made from, and what is covered. -#}
{% include "apply_staged.sql" %}

update audit.pipeline
set
    published_batch = greatest(published_batch, %(read_batch)s),
    published_snapshots = %(snapshots)s,
    -- Only an extraction that joins up with what is covered leaves no gap.
    watermark = case
        when %(bronze_covers_window)s and %(window_start)s <= watermark then greatest(watermark, %(window_end)s)
        else watermark
    end,
    -- A request stays until every layer was made under it.
    rebuild = case when %(read_batch)s >= rebuild_batch then 'none' else rebuild end;

delete from gold.publication;
insert into gold.publication (run_id, batch, window_end, published_at)
select %(run_id)s, %(batch)s, watermark, now() from audit.pipeline;

insert into audit.publications (batch, run_id, window_end, published_at, published_batch, snapshots)
select
    publication.batch,
    publication.run_id,
    publication.window_end,
    publication.published_at,
    pipeline.published_batch,
    pipeline.published_snapshots
from gold.publication
cross join audit.pipeline
on conflict (batch) do update set published_at = excluded.published_at;

-- Runs in PostgreSQL, in the transaction that applied the staged rows. Records the publication, the batch and the
-- snapshots that it was built from, and the watermark.
update audit.pipeline
set
    published_batch = greatest(published_batch, %(read_batch)s),
    published_snapshots = %(snapshots)s,
    -- A window that starts after the watermark would leave a gap.
    watermark = case
        when %(bronze_covers_window)s and %(window_start)s <= watermark then greatest(watermark, %(window_end)s)
        else watermark
    end,
    -- A requested rebuild ends only with a publication whose layers were all built after the request.
    rebuild = case when %(read_batch)s >= rebuild_batch then 'none' else rebuild end,
    outdated = case when %(read_batch)s >= rebuild_batch then '{}' else outdated end,
    fingerprints = case when %(read_batch)s >= rebuild_batch then %(fingerprints)s else fingerprints end;

delete from gold.publication;
insert into gold.publication (run_id, batch, window_end, published_at)
select %(run_id)s, %(batch)s, watermark, now() from audit.pipeline;

insert into audit.publications (batch, run_id, window_end, published_at, published_batch, snapshots, fingerprints)
select
    publication.batch,
    publication.run_id,
    publication.window_end,
    publication.published_at,
    pipeline.published_batch,
    pipeline.published_snapshots,
    pipeline.fingerprints
from gold.publication
cross join audit.pipeline
on conflict (batch) do update set published_at = excluded.published_at;

-- Runs in PostgreSQL, in the transaction that applied the staged rows. Restores the state of an earlier publication.
-- No run publishes while `held_by` is set.
update audit.pipeline
set published_batch = %(published_batch)s, published_snapshots = %(snapshots)s, held_by = %(run_id)s;

delete from gold.publication;
insert into gold.publication (run_id, batch, window_end, published_at)
select run_id, batch, window_end, published_at
from audit.publications
where batch = %(to_batch)s;

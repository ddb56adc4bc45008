{#- PostgreSQL, one transaction: the gold tables of an earlier publication, and what that was made from. -#}
{% include "apply_staged.sql" %}

update audit.pipeline
set published_batch = %(published_batch)s, published_snapshots = %(snapshots)s, held_by = %(run_id)s;

delete from gold.publication;
insert into gold.publication (run_id, batch, window_end, published_at)
select run_id, batch, window_end, published_at
from audit.publications
where batch = %(to_batch)s;

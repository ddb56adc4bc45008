{#- PostgreSQL, one transaction: all gold tables become what the run staged. -#}
{% for table in tables %}
{%- set staging = 'staging.' ~ table.name ~ '_' ~ batch %}
create table if not exists gold.{{ table.name }} (
    {% for name, type in table.columns.items() %}{{ name }} {{ type }},
    {% endfor -%}
    primary key ({{ table.key | join(', ') }})
);
{% for name, type in table.columns.items() %}
alter table gold.{{ table.name }} add column if not exists {{ name }} {{ type }};
{% endfor %}
delete from gold.{{ table.name }} as published
{% if table.name in whole -%}
where not exists (
    select from {{ staging }} as staged
    where {% for column in table.key %}{{ 'and ' if not loop.first }}staged.{{ column }} = published.{{ column }} {% endfor %}
);
{%- else -%}
using {{ staging }} as staged
where staged._deleted {% for column in table.key %}and staged.{{ column }} = published.{{ column }} {% endfor %};
{%- endif %}

insert into gold.{{ table.name }} as published ({{ table.columns | join(', ') }})
select {{ table.columns | join(', ') }} from {{ staging }} where not _deleted
on conflict ({{ table.key | join(', ') }}) do update
set {% for column in table.columns if column not in table.key %}{{ column }} = excluded.{{ column }}{{ ', ' if not loop.last }}{% endfor %}
where
    ({% for column in table.columns %}published.{{ column }}{{ ', ' if not loop.last }}{% endfor %})
    is distinct from ({% for column in table.columns %}excluded.{{ column }}{{ ', ' if not loop.last }}{% endfor %});

drop table {{ staging }};
{% endfor %}

grant usage on schema gold to bi_reader;
grant select on all tables in schema gold to bi_reader;

delete from gold.publication;
insert into gold.publication (run_id, batch, window_end, published_at)
values (%(run_id)s, %(batch)s, %(window_end)s, now());

update audit.pipeline
set
    published_batch = greatest(published_batch, %(read_batch)s),
    published_snapshots = %(snapshots)s,
    -- Only an extraction that joins up with what is covered leaves no gap.
    watermark = case when %(window_start)s <= watermark then greatest(watermark, %(window_end)s) else watermark end,
    rebuild = 'none';

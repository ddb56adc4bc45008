{#- PostgreSQL, one transaction: all gold tables become what the run staged. -#}
{% for table in tables %}
{%- set staging = 'staging.' ~ table.name ~ '_' ~ batch %}
{%- if table.name not in present %}
create table gold.{{ table.name }} (
    {% for name, type in table.columns.items() %}{{ name }} {{ type }},
    {% endfor -%}
    primary key ({{ table.key | join(', ') }})
);
{%- else -%}
{#- Only where one is missing: it locks out readers. -#}
{%- for name, type in table.columns.items() if name not in present[table.name] %}
alter table gold.{{ table.name }} add column {{ name }} {{ type }};
{%- endfor %}
{%- endif %}

delete from gold.{{ table.name }} as published
{% if 'gold.' ~ table.name not in base_snapshots -%}
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
{% endfor %}

update audit.pipeline
set
    published_batch = greatest(published_batch, %(read_batch)s),
    published_snapshots = %(snapshots)s,
    -- Only an extraction that joins up with what is covered leaves no gap.
    watermark = case when %(window_start)s <= watermark then greatest(watermark, %(window_end)s) else watermark end,
    -- A request stays until every layer was made under it.
    rebuild = case when %(read_batch)s >= rebuild_batch then 'none' else rebuild end;

delete from gold.publication;
insert into gold.publication (run_id, batch, window_end, published_at)
select %(run_id)s, %(batch)s, watermark, now() from audit.pipeline;

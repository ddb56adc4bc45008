{#- PostgreSQL, part of a transaction: applies the rows that the run staged to a gold table.
    Given: `table` (GoldTable), `staging`, `is_new`, `is_whole`, `shape` (Shape). -#}
{%- from 'publish/quoted.sql' import quoted, quoted_list -%}
{%- set gold_table = 'gold.' ~ quoted(table.name) -%}
{%- set staged_rows = 'staging.' ~ quoted(table.name ~ '_' ~ staging) -%}
{%- set index = quoted(table.name ~ '_key') -%}
{%- set types = shape.types -%}
{%- set index_key = shape.index_expressions | join(', ') -%}
{% if is_new -%}
create table {{ gold_table }} (
    {% for name, type in types.items() -%}
    {{ quoted(name) }} {{ type }}{{ ' not null' if name in table.key }}{{ ',' if not loop.last }}
    {% endfor -%}
);
create unique index {{ index }} on {{ gold_table }} ({{ index_key }});
{%- elif shape.changes -%}
{#- DDL locks out readers, so it runs only for a changed contract. All rows are deleted first, so that none keeps a value
    of the earlier contract. -#}
delete from {{ gold_table }};
drop index if exists gold.{{ index }};
{%- for name in shape.dropped %}
alter table {{ gold_table }} drop column {{ quoted(name) }};
{%- endfor %}
{%- for name in shape.retyped %}
alter table {{ gold_table }} alter column {{ quoted(name) }} drop default, alter column {{ quoted(name) }} type {{ types[name] }} using null;
{%- endfor %}
{%- for name in shape.added %}
alter table {{ gold_table }} add column {{ quoted(name) }} {{ types[name] }};
{%- endfor %}
{%- for name in types %}
alter table {{ gold_table }} alter column {{ quoted(name) }} {{ 'set' if name in table.key else 'drop' }} not null;
{%- endfor %}
{%- for name in shape.newly_kept %}
alter table {{ gold_table }} alter column {{ quoted(name) }} drop not null;
{%- endfor %}
create unique index {{ index }} on {{ gold_table }} ({{ index_key }});
{%- endif %}

{% if not is_new -%}
delete from {{ gold_table }} as published
{% if is_whole -%}
where not exists (
    select from {{ staged_rows }} as staged
    where {% for column in table.key %}{{ 'and ' if not loop.first }}staged.{{ quoted(column) }} = published.{{ quoted(column) }} {% endfor %}
);
{%- else -%}
using {{ staged_rows }} as staged
where staged._deleted {% for column in table.key %}and staged.{{ quoted(column) }} = published.{{ quoted(column) }} {% endfor %};
{%- endif %}
{%- endif %}

insert into {{ gold_table }} as published ({{ quoted_list(types) }})
select {% for name, type in types.items() %}{{ quoted(name) }}::{{ type }}{{ ', ' if not loop.last }}{% endfor %}
from {{ staged_rows }}
where not _deleted
on conflict ({{ index_key }}) do
{%- if types | length == table.key | length %} nothing;
{%- else %} update
set {% for column in types if column not in table.key %}{{ quoted(column) }} = excluded.{{ quoted(column) }}{{ ', ' if not loop.last }}{% endfor %}
where
    ({% for column in types %}published.{{ quoted(column) }}{{ ', ' if not loop.last }}{% endfor %})
    is distinct from ({% for column in types %}excluded.{{ quoted(column) }}{{ ', ' if not loop.last }}{% endfor %});
{%- endif %}

{#- Trino: drops the rows that an earlier attempt staged.
    Given: `table` (GoldTable), `audited` (Staged), `catalogs`, `tag`. -#}
{%- from 'publish/quoted.sql' import quoted -%}
/* {{ tag(ti) }} */
drop table if exists {{ catalogs.gold }}.staging.{{ quoted(table.name ~ '_' ~ audited.staging) }}

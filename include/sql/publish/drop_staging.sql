{#- Trino: drops the rows that an earlier attempt staged.
    Given: `table` (GoldTable), `audited` (Staged), `catalogs`, `tag`. -#}
/* {{ tag(ti) }} */
drop table if exists {{ catalogs.gold }}.staging.{{ table.name }}_{{ audited.staging }}

{#- Trino: a table's snapshots past their time, then files that no snapshot knows; both may be repeated. -#}
{%- if has_expired %}
set session lake.expire_snapshots_min_retention = '{{ kept_for }}';
/* {{ tag }} */
alter table lake.{{ table }} execute expire_snapshots(retention_threshold => '{{ kept_for }}');
{%- endif %}
{#- The least age that Trino takes: what a write in flight has made so far is younger. #}
/* {{ tag }} */
alter table lake.{{ table }} execute remove_orphan_files(retention_threshold => '7d')

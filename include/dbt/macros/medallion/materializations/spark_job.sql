{#- Materialization `spark_job`: a Spark job writes the table; dbt documents and tests it. -#}
{% materialization spark_job, default %}
    {% call statement('main') %}select 1 from {{ this }} limit 1{% endcall %}
    {{ return({'relations': [this.incorporate(type='table')]}) }}
{% endmaterialization %}

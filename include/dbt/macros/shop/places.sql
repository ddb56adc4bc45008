{#- Standardised places. Both macros are Spark SQL: they are for selects of silver staging. -#}

{#- Lower case without accents, and single blanks within. -#}
{% macro clean_city(column) -%}
    {%- set accented, plain = [], [] -%}
    {%- for letters in accented_letters().split() -%}
        {%- do accented.append(letters[1:]) -%}
        {%- do plain.append(letters[0] * (letters | length - 1)) -%}
    {%- endfor -%}
    regexp_replace(
        regexp_replace(translate(lower({{ column }}), '{{ accented | join }}', '{{ plain | join }}'), r'\p{M}+', ''),
        r'[\s\p{Z}]+',
        ' '
    )
{%- endmacro %}

{#- Each word is a letter and its accented forms. -#}
{% macro accented_letters() -%}
    aàáâãäåāăąǎǟǡǻȁȃȧḁạảấầẩẫậắằẳẵặ bḃḅḇ cçćĉċčḉ dďḋḍḏḑḓ eèéêëēĕėęěȅȇȩḕḗḙḛḝẹẻẽếềểễệ fḟ gĝğġģǧǵḡ hĥȟḣḥḧḩḫẖ
    iìíîïĩīĭįǐȉȋḭḯỉị jĵǰ kķǩḱḳḵ lĺļľḷḹḻḽ mḿṁṃ nñńņňǹṅṇṉṋ oòóôõöōŏőơǒǫǭȍȏȫȭȯȱṍṏṑṓọỏốồổỗộớờởỡợ pṕṗ rŕŗřȑȓṙṛṝṟ
    sśŝşšșṡṣṥṧṩ tţťțṫṭṯṱẗ uùúûüũūŭůűųưǔǖǘǚǜȕȗṳṵṷṹṻụủứừửữự vṽṿ wŵẁẃẅẇẉẘ xẋẍ yýÿŷȳẏẙỳỵỷỹ zźżžẑẓẕ ¨΅῁῭ æǣǽ øǿ
    ſẛ ʒǯ αάἀἁἂἃἄἅἆἇὰᾀᾁᾂᾃᾄᾅᾆᾇᾰᾱᾲᾳᾴᾶᾷ εέἐἑἒἓἔἕὲ ηήἠἡἢἣἤἥἦἧὴᾐᾑᾒᾓᾔᾕᾖᾗῂῃῄῆῇ ιΐίϊἰἱἲἳἴἵἶἷὶῐῑῒῖῗ οόὀὁὂὃὄὅὸ ρῤῥ
    υΰϋύὐὑὒὓὔὕὖὗὺῠῡῢῦῧ ωώὠὡὢὣὤὥὦὧὼᾠᾡᾢᾣᾤᾥᾦᾧῲῳῴῶῷ ϒϓϔ аӑӓ гѓ еѐёӗ жӂӝ зӟ ийѝӣӥ кќ оӧ уўӯӱӳ чӵ ыӹ эӭ ії ѵѷ әӛ
    өӫ ᾿῍῎῏ ῾῝῞῟
{%- endmacro %}

{#- `greatest` keeps a longer text whole. -#}
{% macro pad_zip_prefix(column) -%}
    lpad({{ strip_blanks(column) }}, greatest(5, length({{ strip_blanks(column) }})), '0')
{%- endmacro %}

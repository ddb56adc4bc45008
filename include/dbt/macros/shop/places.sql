{#- Standardised places. Both macros are Spark SQL: they are for selects of silver staging. -#}

{#- A city in lower case, without accents, and with single blanks between words. -#}
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

{#- Each word is a plain letter, followed by its accented forms. -#}
{% macro accented_letters() -%}
    aàáâãäåāăąǎǟǡǻȁȃȧḁạảấầẩẫậắằẳẵặ bḃḅḇ cçćĉċčḉ dďḋḍḏḑḓ eèéêëēĕėęěȅȇȩḕḗḙḛḝẹẻẽếềểễệ fḟ gĝğġģǧǵḡ hĥȟḣḥḧḩḫẖ
    iìíîïĩīĭįǐȉȋḭḯỉị jĵǰ kķǩḱḳḵ lĺļľḷḹḻḽ mḿṁṃ nñńņňǹṅṇṉṋ oòóôõöōŏőơǒǫǭȍȏȫȭȯȱṍṏṑṓọỏốồổỗộớờởỡợ pṕṗ rŕŗřȑȓṙṛṝṟ
    sśŝşšșṡṣṥṧṩ tţťțṫṭṯṱẗ uùúûüũūŭůűųưǔǖǘǚǜȕȗṳṵṷṹṻụủứừửữự vṽṿ wŵẁẃẅẇẉẘ xẋẍ yýÿŷȳẏẙỳỵỷỹ zźżžẑẓẕ ¨΅῁῭ æǣǽ øǿ
    ſẛ ʒǯ αάἀἁἂἃἄἅἆἇὰᾀᾁᾂᾃᾄᾅᾆᾇᾰᾱᾲᾳᾴᾶᾷ εέἐἑἒἓἔἕὲ ηήἠἡἢἣἤἥἦἧὴᾐᾑᾒᾓᾔᾕᾖᾗῂῃῄῆῇ ιΐίϊἰἱἲἳἴἵἶἷὶῐῑῒῖῗ οόὀὁὂὃὄὅὸ ρῤῥ
    υΰϋύὐὑὒὓὔὕὖὗὺῠῡῢῦῧ ωώὠὡὢὣὤὥὦὧὼᾠᾡᾢᾣᾤᾥᾦᾧῲῳῴῶῷ ϒϓϔ аӑӓ гѓ еѐёӗ жӂӝ зӟ ийѝӣӥ кќ оӧ уўӯӱӳ чӵ ыӹ эӭ ії ѵѷ әӛ
    өӫ ᾿῍῎῏ ῾῝῞῟
{%- endmacro %}

{#- `lpad` would cut a longer text, so `greatest` passes it the length of that text. -#}
{% macro pad_zip_prefix(column) -%}
    lpad({{ strip_blanks(column) }}, greatest(5, length({{ strip_blanks(column) }})), '0')
{%- endmacro %}

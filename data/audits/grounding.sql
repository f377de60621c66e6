-- title: Grounding of gold facts
-- meaning: Share of the gold facts that are rated by (of up to 500 rubrics) of whose words of four letters or more (two
--   characters in a row, in scripts without spaces and Hangul) at least 0.6 stand in the document. Low: the rubric invents
--   what it checks.
-- threshold: 0.4
-- direction: at_least
-- blocks: no
-- needs: 10
WITH sample AS (
    SELECT run, round, document_id, criteria FROM rubrics WHERE status = 'ok'
    QUALIFY row_number() OVER (PARTITION BY run, round ORDER BY hash(rubric_id)) <= 500
),
fact AS (
    SELECT run, round, document_id, content_words(c.gold) AS w
    FROM sample, unnest(criteria) AS u(c) WHERE coalesce(c.status, 'ok') = 'ok'
),
document AS (
    SELECT run, round, document_id, content_words(text) AS w
    FROM documents SEMI JOIN sample USING (run, round, document_id) WHERE status = 'ok'
)
SELECT run, round, avg((len(list_intersect(f.w, d.w)) >= 0.6 * len(f.w))::INT) AS value, count(*) AS n
FROM fact f JOIN document d USING (run, round, document_id)
WHERE len(f.w) > 0 GROUP BY ALL

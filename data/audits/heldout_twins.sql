-- title: Near-duplicates of held-out documents trained on
-- meaning: Number of documents with a pair that have the very words of a held-out document of the run, or share 0.9
--   (Jaccard) of its word 5-grams where both have 50 or more. What is measured on such a document was learned by heart.
-- threshold: 0
-- direction: at_most
-- blocks: yes
-- needs: 1
WITH document AS (
    SELECT run, round, document_id, source, split, md5(array_to_string(w, ' ')) AS said,
           list_distinct(list_transform(range(1, len(w) - 3), lambda i: hash(w[i], w[i + 1], w[i + 2], w[i + 3], w[i + 4])))
           AS grams
    FROM (SELECT *, words(text) AS w FROM documents WHERE status = 'ok')
),
heldout AS MATERIALIZED (SELECT DISTINCT run, source, said, grams FROM document WHERE split = 'heldout'),
trained AS MATERIALIZED (
    SELECT run, round, document_id, source, said, grams FROM document
    SEMI JOIN (
        SELECT q.run, q.round, q.document_id FROM problems q
        JOIN pairs p ON p.run = q.run AND p.round = q.round AND p.problem_id = q.problem_id WHERE p.status = 'ok'
    ) u USING (run, round, document_id)
    WHERE split = 'train' AND run IN (SELECT run FROM heldout)
),
shared AS (
    SELECT t.run, t.round, t.document_id, h.source, any_value(t.own) AS own, any_value(h.own) AS other, count(*) AS common
    FROM (SELECT run, round, document_id, len(grams) AS own, unnest(grams) AS gram FROM trained WHERE len(grams) >= 50) t
    JOIN (SELECT run, source, len(grams) AS own, unnest(grams) AS gram FROM heldout WHERE len(grams) >= 50) h
        ON h.run = t.run AND h.gram = t.gram
    GROUP BY ALL
),
twin AS (
    SELECT run, round, document_id, source FROM shared WHERE common >= 0.9 * (own + other - common)
    UNION ALL
    SELECT t.run, t.round, t.document_id, h.source FROM trained t JOIN heldout h ON h.run = t.run AND h.said = t.said
)
SELECT t.run, t.round, count(DISTINCT w.document_id) AS value, count(DISTINCT t.document_id) AS n,
       'such as ' || any_value(t.source) FILTER (w.source IS NOT NULL) || ' of ' || any_value(w.source) AS detail
FROM trained t LEFT JOIN twin w USING (run, round, document_id) GROUP BY ALL

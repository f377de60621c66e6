-- title: Near-duplicates of held-out documents trained on
-- meaning: Number of documents with a pair that have the very words of a held-out document of the run, or share 0.9
--   (Jaccard) of its word 5-grams where both have 50 or more. What is measured on such a document was learned by heart.
-- threshold: 0
-- direction: at_most
-- blocks: yes
-- needs: 1
WITH heldout AS (
    SELECT DISTINCT run, source, md5(array_to_string(words(text), ' ')) AS said, ngrams(text, 5) AS grams
    FROM documents WHERE split = 'heldout' AND status = 'ok'
),
trained AS (
    SELECT DISTINCT d.run, d.round, d.document_id, d.source, md5(array_to_string(words(d.text), ' ')) AS said,
           ngrams(d.text, 5) AS grams
    FROM documents d
    JOIN problems q ON q.run = d.run AND q.round = d.round AND q.document_id = d.document_id
    JOIN pairs p ON p.run = q.run AND p.round = q.round AND p.problem_id = q.problem_id
    WHERE d.status = 'ok' AND d.split = 'train' AND p.status = 'ok' AND d.run IN (SELECT run FROM heldout)
),
shared AS (
    SELECT t.run, t.round, t.document_id, h.source, any_value(t.own) AS own, any_value(h.own) AS other, count(*) AS both
    FROM (SELECT run, round, document_id, len(grams) AS own, unnest(grams) AS gram FROM trained WHERE len(grams) >= 50) t
    JOIN (SELECT run, source, len(grams) AS own, unnest(grams) AS gram FROM heldout WHERE len(grams) >= 50) h
        ON h.run = t.run AND h.gram = t.gram
    GROUP BY ALL
),
twin AS (
    SELECT run, round, document_id, source FROM shared WHERE both >= 0.9 * (own + other - both)
    UNION ALL
    SELECT t.run, t.round, t.document_id, h.source FROM trained t JOIN heldout h ON h.run = t.run AND h.said = t.said
)
SELECT t.run, t.round, count(DISTINCT w.document_id) AS value, count(DISTINCT t.document_id) AS n,
       'such as ' || any_value(t.source) FILTER (w.source IS NOT NULL) || ' of ' || any_value(w.source) AS detail
FROM trained t LEFT JOIN twin w USING (run, round, document_id) GROUP BY ALL

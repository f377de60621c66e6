-- title: Held-out documents trained on
-- meaning: Number of pairs from a document that is held out in any round of the run, by its id or by the same text.
-- threshold: 0
-- direction: at_most
-- blocks: yes
-- needs: 1
WITH heldout AS (
    SELECT DISTINCT run, document_id, md5(text) AS text FROM documents WHERE split = 'heldout' AND status = 'ok'
),
used AS (
    SELECT p.run, p.round, p.pair_id, q.document_id, md5(d.text) AS text
    FROM pairs p
    JOIN problems q ON q.run = p.run AND q.round = p.round AND q.problem_id = p.problem_id
    LEFT JOIN documents d ON d.run = q.run AND d.round = q.round AND d.document_id = q.document_id AND d.status = 'ok'
    WHERE p.status = 'ok'
)
SELECT u.run, u.round, count(DISTINCT u.pair_id) FILTER (h.run IS NOT NULL) AS value, count(DISTINCT u.pair_id) AS n,
       'such as document ' || any_value(h.document_id) AS detail
FROM used u
LEFT JOIN heldout h ON h.run = u.run AND (h.document_id = u.document_id OR h.text = u.text)
WHERE u.run IN (SELECT run FROM heldout) GROUP BY ALL

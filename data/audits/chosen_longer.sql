-- title: Chosen is longer
-- meaning: Share of pairs whose chosen answer has more words (equal: half). DPO learns length: inside a window of 100
--   words it can still be longer every time.
-- threshold: 0.9
-- direction: at_most
-- blocks: yes
-- needs: 20
SELECT p.run, p.round, avg(CASE WHEN c.words > r.words THEN 1.0 WHEN c.words = r.words THEN 0.5 ELSE 0.0 END) AS value,
       count(*) AS n, 'by ' || round(avg(c.words - r.words), 1) || ' words on average' AS detail
FROM pairs p
JOIN answers c ON c.run = p.run AND c.round = p.round AND c.answer_id = p.chosen_answer_id
JOIN answers r ON r.run = p.run AND r.round = p.round AND r.answer_id = p.rejected_answer_id
WHERE p.status = 'ok' GROUP BY ALL

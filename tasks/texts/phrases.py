"""Phrases that mean the same in other languages than English: pointing at a source, refusing, labels before a text.

Not a full list of any language: the forms that models write most. `KNOWN_LANGUAGES` are those in which they are looked
for, so that a person can be told where they are not.
"""

import re

KNOWN_LANGUAGES = frozenset(
    {"English", "Chinese", "Japanese", "Korean", "Arabic", "Russian", "Hebrew", "Devanagari script"}
)

POINTING = re.compile(
    r"本文|上文|下文|原文(?:中|里)|[这該该此本](?:篇|段)?(?:文章|文档|文本|短文|段落|文件)|(?:根据|依据|按照)(?:文章|文档|短文|上述|以上|材料)"
    r"|(?:この|上記の|以下の|当該)(?:文章|文書|本文|テキスト|記事|段落)|(?:文章|文書|本文)によ(?:ると|れば)"
    r"|(?:이|위|해당|다음|본) ?(?:글|문서|본문|지문|기사|단락)(?=[은는이가을를의에 ])|본문에"
    r"|\b(?:هذا|هذه|في|وفق|وفقا|وفقًا|حسب|بحسب|من) ?(?:ل)?(?:النص|المقال|المقالة|الوثيقة|الفقرة|المستند)\b|وفق[اًا]* للنص"
    r"|\b(?:в|из|этот|этом|этого|данный|данном|данного|согласно) (?:тексте|текста|текст|тексту|статье|статьи|документе"
    r"|документа|отрывке|отрывка)\b|\b(?:הטקסט|המאמר|הקטע|המסמך) (?:הזה|הנ\"ל)|לפי (?:הטקסט|המאמר|הקטע|המסמך)"
    r"|(?:इस|उपरोक्त|दिए गए) (?:पाठ|लेख|दस्तावेज़|अनुच्छेद|गद्यांश)",
    re.IGNORECASE,
)
REFUSING = re.compile(
    r"^\W*(?:(?:很抱歉|抱歉|对不起|對不起)[，,。 ]*(?:但)?我(?:无法|不能|無法)"
    r"|我(?:无法|不能|無法)(?:回答|提供|帮助|協助)|作为(?:一个|一名)?(?:AI|人工智能)"
    r"|申し訳(?:ございません|ありません)が.{0,20}(?:できません|できかねます)|죄송(?:합니다|하지만).{0,40}(?:없습니다|어렵습니다)"
    r"|(?:عذر[اًا]*|آسف|أعتذر|معذرة)[^.؟\n]{0,40}لا (?:أستطيع|يمكنني)|لا (?:أستطيع|يمكنني) (?:المساعدة|الإجابة|تقديم)"
    r"|(?:извините|к сожалению)[^.\n]{0,30}я не могу|मुझे खेद है[^।\n]{0,40}नहीं"
    r"|(?:es tut mir leid|leider|entschuldigung)[^.\n]{0,20}(?:ich kann|kann ich)[^.\n]{0,60}nicht"
    r" (?:beantworten|helfen|weiterhelfen|geben|antworten)"
    r"|(?:(?:je suis )?désolée?|malheureusement)[^.\n]{0,20}je ne (?:peux|puis|suis) pas[^.\n]{0,20}"
    r"(?:répondre|aider|fournir|donner)|je ne (?:peux|puis) pas (?:répondre|vous aider|fournir)"
    r"|(?:lo siento|lamentablemente)[^.\n]{0,20}no puedo (?:ayudar|responder|proporcionar|dar)"
    r"|no puedo (?:proporcionar|responder|ayudarte?|dar consejos)"
    r"|(?:mi dispiace|desculpe|sinto muito)[^.\n]{0,20}n[oã]o? pos?so (?:aiutar|rispondere|fornire|ajudar|responder))",
    re.IGNORECASE,
)
QUESTION_LABELS = frozenset({
    "question", "problem", "task", "问题", "問題", "题目", "題目", "質問", "設問", "문제", "질문",
    "السؤال", "سؤال", "вопрос", "שאלה", "प्रश्न",
})  # fmt: skip
ANSWER_LABELS = ("答案", "回答", "答え", "答", "답", "답변", "الإجابة", "الجواب", "ответ", "תשובה", "उत्तर")

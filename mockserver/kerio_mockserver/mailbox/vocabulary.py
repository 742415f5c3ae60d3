"""Words for generated texts by language, and lines that break careless parsers."""

from __future__ import annotations

WORDS: dict[str, str] = {
    "en": "the project team will meet on Monday about our new contract with customers and suppliers please "
    "find attached a short report from last week's review we should decide whether to move before "
    "spring because budget delivery quality price office meeting question answer invoice order thanks "
    "regards working together quickly carefully another plan version draft signed approved delayed "
    "under between through important urgent however although",
    "de": "das Projekt wird am Montag mit unseren Kunden besprochen bitte prüfen Sie die beigefügte "
    "Übersicht und schicken mir Ihre Anmerkungen bis Freitag wir müssen entscheiden ob die Lieferung "
    "rechtzeitig möglich ist Grüße Rechnung Auftrag Besprechung Angebot Straße größer schließlich "
    "außerdem natürlich vielleicht Büro für über während",
    "fr": "le projet sera présenté à l'équipe lundi prochain veuillez trouver ci-joint le compte-rendu de la "
    "réunion nous devons décider si la livraison peut être avancée à cause du budget facture commande "
    "réponse déjà très bientôt où naïf garçon Noël œuvre malgré lui été façon même après grâce client "
    "contrat nouvelle",
    "es": "el proyecto será presentado el próximo lunes por favor revise el informe adjunto y envíe sus "
    "comentarios mañana tenemos que decidir si la entrega es posible según el presupuesto factura "
    "pedido reunión español años niño también además después quizás gracias saludos cliente contrato "
    "dirección información",
    "cs": "projekt bude představen v pondělí prosím zkontrolujte přiloženou zprávu a pošlete své připomínky "
    "do pátku musíme rozhodnout zda je možné dodat včas objednávka faktura schůzka nabídka kancelář "
    "děkuji s pozdravem příliš žluťoučký kůň úpěl ďábelské ódy během která také však důležité",
    "ru": "проект будет представлен в понедельник пожалуйста проверьте приложенный отчёт и пришлите "
    "замечания до пятницы нам нужно решить возможна ли поставка вовремя счёт заказ встреча предложение "
    "договор клиент спасибо с уважением очень важно также однако после между через новый быстро вместе "
    "ещё",
    "el": "το έργο θα παρουσιαστεί τη Δευτέρα παρακαλώ ελέγξτε την συνημμένη αναφορά και στείλτε τα σχόλιά "
    "σας μέχρι την Παρασκευή πρέπει να αποφασίσουμε αν η παράδοση είναι δυνατή τιμολόγιο παραγγελία "
    "συνάντηση ευχαριστώ πολύ",
    "ar": "سيتم عرض المشروع يوم الاثنين يرجى مراجعة التقرير المرفق وإرسال ملاحظاتكم قبل يوم الجمعة علينا أن "
    "نقرر ما إذا كان التسليم ممكنا في الوقت المناسب فاتورة طلب اجتماع عرض عقد عميل شكرا جزيلا مع "
    "التحية مهم جدا أيضا",
    "he": "הפרויקט יוצג ביום שני אנא בדקו את הדוח המצורף ושלחו את ההערות שלכם עד יום שישי עלינו להחליט אם "
    "האספקה אפשרית בזמן חשבונית הזמנה פגישה הצעה חוזה לקוח תודה רבה בברכה חשוב מאוד",
    "hi": "परियोजना सोमवार को प्रस्तुत की जाएगी कृपया संलग्न रिपोर्ट देखें और शुक्रवार तक अपनी टिप्पणियाँ "
    "भेजें हमें तय करना है कि क्या समय पर वितरण संभव है बिल आदेश बैठक प्रस्ताव धन्यवाद बहुत महत्वपूर्ण",
    "ja": "プロジェクトは 月曜日に 発表されます 添付の 報告書を ご確認の上 金曜日までに ご意見を "
    "お送りください 納期に 間に合うか 決めなければ なりません 請求書 注文 会議 見積もり 契約 お客様 "
    "ありがとうございます よろしく お願いいたします とても 重要です",
    "zh": "项目 将于 星期一 介绍 请查看 附件中的 报告 并在 星期五 之前 提出 意见 我们 需要 决定 能否 按时 "
    "交货 发票 订单 会议 报价 合同 客户 谢谢 此致 敬礼 非常 重要 但是 因为 所以 新的 办公室",
}

SUBJECTS: dict[str, tuple[str, ...]] = {
    "en": (
        "Meeting on Monday",
        "Invoice",
        "Your order has been shipped",
        "Weekly report",
        "Question about the contract",
    ),
    "de": ("Besprechung am Montag", "Rechnung für März", "Ihre Bestellung", "Wöchentlicher Bericht", "Rückfrage"),
    "fr": ("Réunion de lundi", "Facture à régler", "Votre commande", "Compte-rendu", "Où en sommes-nous ?"),
    "es": ("Reunión del lunes", "Factura", "Su pedido está en camino", "Informe semanal", "¿Una pregunta?"),
    "cs": ("Schůzka v pondělí", "Faktura", "Vaše objednávka", "Týdenní zpráva", "Dotaz ke smlouvě"),
    "ru": ("Встреча в понедельник", "Счёт", "Ваш заказ", "Еженедельный отчёт", "Вопрос по договору"),
    "el": ("Συνάντηση τη Δευτέρα", "Τιμολόγιο", "Η παραγγελία σας", "Εβδομαδιαία αναφορά"),
    "ar": ("اجتماع يوم الاثنين", "فاتورة", "طلبك في الطريق", "تقرير أسبوعي"),
    "he": ("פגישה ביום שני", "חשבונית", "ההזמנה שלך", "דוח שבועי"),
    "hi": ("सोमवार की बैठक", "बिल", "आपका आदेश", "साप्ताहिक रिपोर्ट"),
    "ja": ("月曜日の会議について", "請求書", "ご注文の発送", "週報", "契約に関するお問い合わせ"),
    "zh": ("星期一的会议", "发票", "您的订单已发货", "每周报告", "关于合同的问题"),
}

ODD_SUBJECTS: tuple[str, ...] = (
    "",
    "  spaces before and after  ",
    'quotes " and \\ backslashes \\" and </script>',
    "🎉🎉 Party 🥳 👩‍👩‍👧‍👦 at 5️⃣ o'clock",
    "tab\there",
    "=?utf-8?Q?not_decoded?=",
    "a subject that goes on and on, " * 30,
    "%1 and %s and {0} and ${x}",
    "cafe\u0301 is not café",
    "\u202eright to left by force\u202c",
)

ODD_LINES: tuple[str, ...] = (
    "👩‍👩‍👧‍👦 🏳️‍🌈 🇨🇿 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝕩 😀 e\u0301 \u200b\ufeff",
    "\tTabbed\tcolumns\there;1;2;3",
    'He said: "C:\\temp\\new" & <b>not bold</b> -- 100 % sure, {"json": [1, null]}',
    "A line separator\u2028and a paragraph separator\u2029in the middle, a no-break\u00a0space, a soft\u00adhyphen.",
    "https://example.org/path?with=" + "very-long-words-without-a-break-" * 12,
    ">>> From here on it was quoted thrice",
    "\u202bמימין לשמאל\u202c and left to right in one line, ١٢٣ and 123",
)

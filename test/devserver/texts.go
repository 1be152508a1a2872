package main

// language is what the articles of one language are made of.
type language struct {
	topics, angles []string
	title          string // of topic and angle
	desc           string // of topic
	headings       []string
	sentences      []string // %s is the topic; ends with its punctuation
	between        string   // two sentences
}

func chinese() language {
	return language{
		title:   "%s：%s",
		desc:    "关于%s的一些实践与思考，附可以直接运行的代码。",
		between: "",
		topics: []string{
			"优雅停机", "连接池", "数据库迁移", "软删除", "分页查询", "幂等键", "长轮询", "变更订阅", "健康检查",
			"滚动升级", "配置管理", "结构化日志", "指标与告警", "链路追踪", "请求超时", "错误码设计", "接口文档",
			"模糊测试", "竞态检测", "索引优化", "事务隔离", "缓存失效", "限流", "灰度发布", "容器镜像", "命令行工具",
		},
		angles: []string{
			"从入门到上线", "一次线上事故的复盘", "为什么总是做错", "十分钟上手", "源码里的细节", "我们踩过的坑",
			"面试官没有问的那一半", "性能数字从哪里来", "写给新同事", "反模式清单", "最小可用的实现", "测试怎么写",
			"半年之后再看", "代码评审笔记", "三种方案的取舍", "只用标准库", "在 Kubernetes 上", "一张图讲清楚",
			"常见问题", "读者来信", "周末小实验", "边界条件",
		},
		headings: []string{"背景", "问题", "第一次尝试", "根本原因", "做法", "取舍", "数字", "小结"},
		sentences: []string{
			"说起%s，大多数人的第一反应是“这有什么难的”。",
			"直到某个周五的晚上，监控上的曲线突然掉到了零。",
			"我们先把现象写下来，再去猜原因，顺序不能反。",
			"日志里只有一行，却足够说明问题出在哪里。",
			"很多教程讲%s，都停在了能跑起来的那一步。",
			"真正的麻烦在于：请求还没有结束，连接就已经关闭了。",
			"于是我们加了一个测试，先让它失败，再去修代码。",
			"数据库给出的答案比我们的直觉可靠得多。",
			"把复杂度留给库，把清楚留给调用的人。",
			"如果只能记住一句话，那就是：先测量，再优化。",
			"这里的超时不是越长越好，而是要和上游的窗口对得上。",
			"上线之后，%s再也没有半夜叫醒过我们。",
			"代码不多，但每一行都有它的理由。",
			"有同事问，为什么不直接重试？因为有的请求重试一次就是两次。",
			"下面这段代码可以直接复制到你的项目里试一试。",
			"当然，它也有代价：多写一张表，多维护一个序号。",
		},
	}
}

func english() language {
	return language{
		title:   "%s: %s",
		desc:    "Notes on %s from running it in production, with code that can be copied.",
		between: " ",
		topics: []string{
			"Graceful shutdown", "Connection pools", "Schema migrations", "Soft deletion", "Pagination", "Idempotency keys",
			"Long polling", "Change feeds", "Health checks", "Rolling updates", "Configuration", "Structured logging",
			"Metrics and alerts", "Tracing", "Request deadlines", "Error codes", "API descriptions", "Fuzzing",
			"The race detector", "Index design", "Transaction isolation", "Cache invalidation", "Rate limiting",
			"Canary releases", "Container images", "Command line tools",
		},
		angles: []string{
			"from first draft to production", "the postmortem", "why we kept getting it wrong", "in ten minutes",
			"reading the source", "the traps we fell into", "the half nobody asks about", "where the numbers come from",
			"a letter to a new colleague", "a list of anti-patterns", "the smallest thing that works", "how to test it",
			"six months later", "notes from code review", "three designs compared", "with the standard library only",
			"on Kubernetes", "in one picture", "frequently asked questions", "letters from readers",
			"a weekend experiment", "at the edges",
		},
		headings: []string{"Background", "The problem", "A first attempt", "The cause", "What we did", "Trade-offs", "Numbers", "Conclusion"},
		sentences: []string{
			"Ask ten people about %s and nine will say that it is easy.",
			"It was easy, until the graph fell to zero on a Friday evening.",
			"Write down what you see before you guess why; the order matters.",
			"There was one line in the log, and it was enough.",
			"Most tutorials stop at the point where it runs on the author's laptop.",
			"The trouble is that the connection was closed while the request was still under way.",
			"So we wrote a test, watched it fail, and only then changed the code.",
			"The query plan knew better than our intuition did.",
			"Keep the complexity in the library and the clarity with its caller.",
			"If you remember one thing about %s, let it be this: measure first.",
			"A longer timeout isn't a better one; it has to fit the window of whoever is waiting.",
			"Since that release nobody has been woken up by %s.",
			"It is not much code, but each line has its reason.",
			"Why not simply retry? Because for some requests one retry means twice.",
			"The following can be pasted into your own project as it is.",
			"It has a price, of course: one more table, and a sequence to look after.",
		},
	}
}

func codeBlocks() []string {
	return []string{
		"```go\nsrv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}\ngo func() { errs <- srv.Serve(ln) }()\n<-ctx.Done()\n\nctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)\ndefer cancel()\nreturn srv.Shutdown(ctx)\n```",
		"```go\nfunc Reverse(s string) string {\n\trunes := []rune(s)\n\tslices.Reverse(runes)\n\treturn string(runes) // \"你好 👋\" stays whole\n}\n```",
		"```sql\nSELECT a.id, a.title\nFROM blog_article AS a\nJOIN blog_article_tag AS t ON t.article_id = a.id AND t.is_deleted = 0\nWHERE t.tag_id = ? AND a.is_deleted = 0\nORDER BY a.id DESC\nLIMIT 10;\n```",
		"```yaml\nspec:\n  terminationGracePeriodSeconds: 45\n  containers:\n    - name: tag\n      lifecycle:\n        preStop:\n          sleep: {seconds: 5}\n```",
		"```sh\n$ curl -i http://127.0.0.1:8080/api/v1/articles -H 'locale: en' \\\n    -d title='<b>not bold</b>' -d content='100% & more'\nHTTP/1.1 201 Created\n```",
		"```json\n{\"code\": 0, \"msg\": \"成功\", \"data\": {\"id\": 42, \"title\": \"Go 语言\\t\\\"引号\\\"\"}}\n```",
	}
}

func emojis() []string {
	return []string{"🚀", "🐛", "✅", "🔥", "😅", "🎉", "👩‍💻", "🇨🇳", "☕️", "🧵", "📈", "🤷🏽‍♂️"}
}

// tagNames has the most used tag first.
func tagNames() []string {
	return []string{
		"Go", "后端", "Kubernetes", "数据库", "微服务", "MySQL", "Docker", "云原生", "testing", "性能优化",
		"HTTP", "架构", "Linux", "Redis", "gin", "gorm", "日志", "Prometheus", "源码阅读", "C++",
		"安全", "CI/CD", "面试", "分布式系统", "gRPC", "Helm", "git", "并发", "重构", "代码评审",
		"JSON", "OpenAPI", "SQLite", "缓存", "监控", "troubleshooting", "读书笔记", "shell", "nginx", "网络",
		"TLS", "事务", "索引", "开源", "命令行", "YAML", "Unicode 🌏", "随笔", "工具", "效率",
		"设计模式", "算法", "emoji 😀", "Rust", "前端", "translation", "周报", "摄影", "咖啡 ☕️", "其他",
	}
}

package main

import (
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"gorm.io/driver/mysql"
	"gorm.io/gorm"
)

// maxConns is the service's own default.
const maxConns = 30

// Article is the one model of the scaffold: table, JSON and query in one, as tutorials of
// gin and gorm have it.
type Article struct {
	ID            uint64    `json:"id"`
	Title         string    `json:"title"`
	Desc          string    `json:"desc"`
	CoverImageURL string    `json:"cover_image_url"`
	Content       string    `json:"content"`
	State         uint8     `json:"state"`
	Tags          []Tag     `json:"tags" gorm:"many2many:blog_article_tag"`
	CreatedAt     time.Time `json:"created_at"`
	CreatedBy     string    `json:"created_by"`
	UpdatedAt     time.Time `json:"updated_at"`
	UpdatedBy     string    `json:"updated_by"`
	IsDeleted     uint8     `json:"-"`
}

// TableName implements gorm's schema.Tabler.
func (Article) TableName() string { return "blog_article" }

// Tag is a tag of an article.
type Tag struct {
	ID    uint64 `json:"id"`
	Name  string `json:"name"`
	State uint8  `json:"state"`
}

// TableName implements gorm's schema.Tabler.
func (Tag) TableName() string { return "blog_tag_projection" }

// scaffoldHandler answers with gin.Default, which logs each request, and counts and finds
// for each list. It uses the tables and indexes of the article service: without those
// it would be slower still.
func scaffoldHandler(dsn string) (http.Handler, error) {
	db, err := gorm.Open(mysql.Open(dsn), &gorm.Config{})
	if err != nil {
		return nil, err
	}
	pool, err := db.DB()
	if err != nil {
		return nil, err
	}
	pool.SetMaxIdleConns(10)
	pool.SetMaxOpenConns(maxConns)
	engine := gin.Default()
	engine.GET("/api/v1/articles/:id", func(c *gin.Context) { getArticle(c, db) })
	engine.GET("/api/v1/articles", func(c *gin.Context) { listArticles(c, db) })
	return engine, nil
}

func getArticle(c *gin.Context, db *gorm.DB) {
	var article Article
	if err := db.Preload("Tags").Where("id = ? AND is_deleted = 0 AND state = 1", c.Param("id")).First(&article).Error; err != nil {
		c.JSON(http.StatusInternalServerError, gin.H{"code": 1, "msg": err.Error()})
		return
	}
	c.JSON(http.StatusOK, gin.H{"code": 0, "msg": "ok", "data": article})
}

func listArticles(c *gin.Context, db *gorm.DB) {
	page, _ := strconv.Atoi(c.DefaultQuery("page", "1"))
	size, _ := strconv.Atoi(c.DefaultQuery("page_size", "10"))
	query := db.Model(&Article{}).Where("blog_article.is_deleted = 0 AND blog_article.state = 1")
	if tag := c.Query("tag_id"); tag != "" {
		query = query.Joins("JOIN blog_article_tag ON blog_article_tag.article_id = blog_article.id").Where("blog_article_tag.tag_id = ?", tag)
	}
	if title := c.Query("title"); title != "" {
		query = query.Where("title LIKE ?", "%"+title+"%")
	}
	var total int64
	var list []Article
	err := query.Count(&total).Error
	if err == nil {
		err = query.Preload("Tags").Order("blog_article.id DESC").Offset((page - 1) * size).Limit(size).Find(&list).Error
	}
	if err != nil {
		c.JSON(http.StatusInternalServerError, gin.H{"code": 1, "msg": err.Error()})
		return
	}
	c.JSON(http.StatusOK, gin.H{"code": 0, "msg": "ok", "list": list, "pager": gin.H{"page": page, "page_size": size, "total_rows": total}})
}
